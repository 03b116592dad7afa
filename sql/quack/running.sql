-- What the clients of the quack server run at the moment.
SELECT connection_id, query_started_at::VARCHAR, query FROM quack_active_connections() WHERE state = 'active';

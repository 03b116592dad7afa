-- sqlrag_info: what the manifests of the registered indexes say, as of their registration.
CREATE OR REPLACE TEMPORARY FUNCTION sqlrag_info()
RETURNS TABLE ({columns})
RETURN SELECT * FROM sqlrag_indexes

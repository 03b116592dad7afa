-- Functions of PostgreSQL that clients call on its catalog, as macros of DuckDB; catalog.sql comes after.
CREATE MACRO version() AS '{version}';
CREATE MACRO current_database() AS '{database}';
CREATE MACRO current_schemas(implicit) AS CASE WHEN implicit THEN ['pg_catalog', 'main'] ELSE ['main'] END;
CREATE MACRO current_setting(setting_name) AS (SELECT setting FROM settings WHERE name = setting_name),
    (setting_name, missing) AS (SELECT setting FROM settings WHERE name = setting_name);
CREATE MACRO set_config(setting_name, value, local) AS value;
CREATE MACRO format_type(oid_of_type, modifier) AS (SELECT types.spoken FROM types WHERE types.oid = oid_of_type);
CREATE MACRO to_regclass(named) AS
    (SELECT min(relation) FROM described WHERE named IN (name, '"' || name || '"', schema || '.' || name,
                                                         '"' || schema || '"."' || name || '"', schema || '."' || name || '"'));
CREATE MACRO to_regtype(named) AS (SELECT min(types.oid) FROM types WHERE named IN (types.name, types.spoken));
CREATE MACRO pg_get_userbyid(role) AS 'sqlrag';
CREATE MACRO pg_table_is_visible(relation_oid) AS true;
CREATE MACRO pg_type_is_visible(type_oid) AS true;
CREATE MACRO pg_function_is_visible(function_oid) AS true;
CREATE MACRO pg_get_expr(node, relation_oid) AS NULL::VARCHAR, (node, relation_oid, pretty) AS NULL::VARCHAR;
CREATE MACRO pg_get_viewdef(view_oid) AS NULL::VARCHAR, (view_oid, pretty) AS NULL::VARCHAR;
CREATE MACRO pg_get_partkeydef(relation_oid) AS NULL::VARCHAR;
CREATE MACRO pg_get_constraintdef(constraint_oid) AS
    (SELECT 'PRIMARY KEY (' || array_to_string(list("column" ORDER BY key), ', ') || ')' FROM described
     WHERE relation = constraint_oid - 300000 AND key > 0),
    (constraint_oid, pretty) AS
    (SELECT 'PRIMARY KEY (' || array_to_string(list("column" ORDER BY key), ', ') || ')' FROM described
     WHERE relation = constraint_oid - 300000 AND key > 0);
CREATE MACRO pg_get_indexdef(index_oid) AS
    (SELECT 'CREATE UNIQUE INDEX ' || min(name) || '_pkey ON ' || min(name) || ' USING btree ('
            || array_to_string(list("column" ORDER BY key), ', ') || ')' FROM described
     WHERE relation = index_oid - 200000 AND key > 0),
    (index_oid, place, pretty) AS
    (SELECT CASE place WHEN 0 THEN 'CREATE UNIQUE INDEX ' || min(name) || '_pkey ON ' || min(name) || ' USING btree ('
                                   || array_to_string(list("column" ORDER BY key), ', ') || ')'
            ELSE list("column" ORDER BY key)[place] END
     FROM described WHERE relation = index_oid - 200000 AND key > 0);
CREATE MACRO pg_get_function_result(function_oid) AS NULL::VARCHAR;
CREATE MACRO pg_get_function_arguments(function_oid) AS NULL::VARCHAR;
CREATE MACRO pg_get_function_identity_arguments(function_oid) AS NULL::VARCHAR;
CREATE MACRO pg_get_functiondef(function_oid) AS NULL::VARCHAR;
CREATE MACRO pg_get_triggerdef(trigger_oid) AS NULL::VARCHAR, (trigger_oid, pretty) AS NULL::VARCHAR;
CREATE MACRO pg_get_ruledef(rule_oid) AS NULL::VARCHAR, (rule_oid, pretty) AS NULL::VARCHAR;
CREATE MACRO array_lower(elements, dimension) AS CASE WHEN len(elements) > 0 THEN 1 END;
CREATE MACRO array_upper(elements, dimension) AS nullif(len(elements), 0);
CREATE MACRO pg_get_serial_sequence(table_name, column_name) AS NULL::VARCHAR;
CREATE MACRO pg_get_statisticsobjdef_columns(statistics_oid) AS NULL::VARCHAR;
CREATE MACRO pg_relation_is_publishable(relation_oid) AS false;
CREATE MACRO pg_relation_size(relation_oid) AS NULL::BIGINT, (relation_oid, fork) AS NULL::BIGINT;
CREATE MACRO pg_table_size(relation_oid) AS NULL::BIGINT;
CREATE MACRO pg_total_relation_size(relation_oid) AS NULL::BIGINT;
CREATE MACRO pg_size_pretty(bytes) AS NULL::VARCHAR;
CREATE MACRO pg_encoding_to_char(encoding) AS 'UTF8';
CREATE MACRO pg_is_in_recovery() AS true;
CREATE MACRO pg_backend_pid() AS 0;
CREATE MACRO pg_advisory_unlock_all() AS NULL;
CREATE MACRO pg_tablespace_location(tablespace_oid) AS '';
CREATE MACRO pg_indexam_has_property(method, property) AS false;
CREATE MACRO obj_description(oid_of_object) AS NULL::VARCHAR, (oid_of_object, catalog) AS NULL::VARCHAR;
CREATE MACRO shobj_description(oid_of_object, catalog) AS NULL::VARCHAR;
CREATE MACRO col_description(relation_oid, number) AS NULL::VARCHAR;
CREATE MACRO has_database_privilege(object, privilege) AS upper(privilege) = 'CONNECT',
    (role, object, privilege) AS upper(privilege) = 'CONNECT';
CREATE MACRO has_schema_privilege(object, privilege) AS upper(privilege) = 'USAGE',
    (role, object, privilege) AS upper(privilege) = 'USAGE';
CREATE MACRO has_table_privilege(object, privilege) AS upper(privilege) = 'SELECT',
    (role, object, privilege) AS upper(privilege) = 'SELECT';
CREATE MACRO has_any_column_privilege(object, privilege) AS upper(privilege) = 'SELECT';
CREATE MACRO has_column_privilege(object, name, privilege) AS upper(privilege) = 'SELECT';

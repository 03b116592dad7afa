-- PostgreSQL's catalog for a database of another kind, in a DuckDB in memory: what psql, drivers and BI tools look for.
-- https://www.postgresql.org/docs/current/catalogs.html. `described` is filled before, a row for each column:
-- relation, schema, name, kind, number, column, type (its number), type_name, not_null, key. Names of the schema
-- pg_catalog stand in main here, those of information_schema in information; what a client asks is rewritten to that.

-- Types that clients cast to.
CREATE TYPE name AS VARCHAR;
CREATE TYPE regclass AS VARCHAR;
CREATE TYPE regtype AS VARCHAR;
CREATE TYPE regproc AS VARCHAR;
CREATE TYPE regnamespace AS VARCHAR;
CREATE TYPE regrole AS VARCHAR;

CREATE TABLE pg_namespace AS
SELECT row_number() OVER (ORDER BY nspname) + 2199 AS oid, nspname, 10 AS nspowner, NULL::VARCHAR[] AS nspacl
FROM   (SELECT DISTINCT schema AS nspname FROM described UNION SELECT 'main');
INSERT INTO pg_namespace VALUES (11, 'pg_catalog', 10, NULL), (13000, 'information_schema', 10, NULL);

CREATE TABLE pg_class AS
SELECT relation AS oid, name AS relname, spaces.oid AS relnamespace, relation + 100000 AS reltype, 0 AS reloftype,
       10 AS relowner, CASE kind WHEN 'view' THEN 0 ELSE 2 END AS relam, relation AS relfilenode, 0 AS reltablespace,
       0 AS relpages, -1.0::FLOAT AS reltuples, 0 AS relallvisible, 0 AS reltoastrelid, bool_or(key > 0) AS relhasindex,
       false AS relisshared, 'p' AS relpersistence, CASE kind WHEN 'view' THEN 'v' ELSE 'r' END AS relkind,
       count(*)::SMALLINT AS relnatts, 0::SMALLINT AS relchecks, false AS relhasrules, false AS relhastriggers,
       false AS relhassubclass, false AS relrowsecurity, false AS relforcerowsecurity, true AS relispopulated,
       'd' AS relreplident, false AS relispartition, 0 AS relrewrite, 0 AS relfrozenxid, 0 AS relminmxid,
       NULL::VARCHAR[] AS relacl, NULL::VARCHAR[] AS reloptions, NULL::VARCHAR AS relpartbound
FROM   described JOIN pg_namespace AS spaces ON spaces.nspname = described.schema
GROUP BY relation, name, kind, spaces.oid;

CREATE TABLE pg_attribute AS
SELECT relation AS attrelid, "column" AS attname, type AS atttypid, 0 AS attstattarget, -1::SMALLINT AS attlen,
       number::SMALLINT AS attnum, 0 AS attndims, -1 AS attcacheoff, -1 AS atttypmod, false AS attbyval, 'p' AS attstorage,
       'i' AS attalign, '' AS attcompression, not_null AS attnotnull, false AS atthasdef, false AS atthasmissing,
       '' AS attidentity, '' AS attgenerated, false AS attisdropped, true AS attislocal, 0 AS attinhcount,
       CASE WHEN type_name IN ('text', 'varchar') THEN 100 ELSE 0 END AS attcollation, NULL::VARCHAR[] AS attacl,
       NULL::VARCHAR[] AS attoptions, NULL::VARCHAR[] AS attfdwoptions
FROM   described;

CREATE TABLE pg_type AS
SELECT oid, name AS typname, 11 AS typnamespace, 10 AS typowner, size::SMALLINT AS typlen, false AS typbyval, 'b' AS typtype,
       CASE WHEN element > 0 THEN 'A' WHEN name IN ('text', 'varchar') THEN 'S' WHEN name = 'bool' THEN 'B'
            WHEN name LIKE 'time%' OR name = 'date' THEN 'D' WHEN name = 'interval' THEN 'T'
            WHEN name LIKE 'int%' OR name LIKE 'float%' OR name = 'numeric' THEN 'N' ELSE 'U' END AS typcategory,
       false AS typispreferred, true AS typisdefined, ',' AS typdelim, 0 AS typrelid, 0 AS typsubscript, element AS typelem,
       array_oid AS typarray, '-' AS typinput, '-' AS typoutput, CASE WHEN element > 0 THEN 'array_recv' ELSE '-' END AS typreceive,
       '-' AS typsend, '-' AS typmodin, '-' AS typmodout, '-' AS typanalyze, 'i' AS typalign, 'p' AS typstorage,
       false AS typnotnull, 0 AS typbasetype, -1 AS typtypmod, 0 AS typndims,
       CASE WHEN name IN ('text', 'varchar') THEN 100 ELSE 0 END AS typcollation, NULL::VARCHAR AS typdefaultbin,
       NULL::VARCHAR AS typdefault, NULL::VARCHAR[] AS typacl
FROM   types;

-- Primary keys.
CREATE TABLE keys AS
SELECT relation, schema, name, list("column" ORDER BY key) AS columns, list(number::SMALLINT ORDER BY key) AS numbers
FROM   described WHERE key > 0 GROUP BY relation, schema, name;
CREATE TABLE pg_index AS
SELECT relation + 200000 AS indexrelid, relation AS indrelid, len(numbers)::SMALLINT AS indnatts,
       len(numbers)::SMALLINT AS indnkeyatts, true AS indisunique, false AS indnullsnotdistinct, true AS indisprimary,
       false AS indisexclusion, true AS indimmediate, false AS indisclustered, true AS indisvalid, false AS indcheckxmin,
       true AS indisready, true AS indislive, false AS indisreplident, numbers AS indkey, NULL::INTEGER[] AS indcollation,
       NULL::INTEGER[] AS indclass, list_transform(numbers, lambda n: 0::SMALLINT) AS indoption, NULL::VARCHAR AS indexprs,
       NULL::VARCHAR AS indpred
FROM   keys;
INSERT INTO pg_class BY NAME
SELECT relation + 200000 AS oid, name || '_pkey' AS relname, spaces.oid AS relnamespace, 0 AS reltype, 0 AS reloftype,
       10 AS relowner, 403 AS relam, 0 AS relfilenode, 0 AS reltablespace, 0 AS relpages, -1.0 AS reltuples,
       0 AS reltoastrelid, false AS relhasindex, 'p' AS relpersistence, 'i' AS relkind, len(numbers) AS relnatts,
       0 AS relchecks, false AS relhasrules, false AS relhastriggers, false AS relispartition, 'n' AS relreplident
FROM   keys JOIN pg_namespace AS spaces ON spaces.nspname = keys.schema;
CREATE TABLE pg_constraint AS
SELECT relation + 300000 AS oid, name || '_pkey' AS conname, spaces.oid AS connamespace, 'p' AS contype,
       false AS condeferrable, false AS condeferred, true AS convalidated, relation AS conrelid, 0 AS contypid,
       relation + 200000 AS conindid, 0 AS conparentid, 0 AS confrelid, ' ' AS confupdtype, ' ' AS confdeltype,
       ' ' AS confmatchtype, true AS conislocal, 0 AS coninhcount, true AS connoinherit, numbers AS conkey,
       NULL::SMALLINT[] AS confkey, NULL::VARCHAR AS conbin, columns AS conname_columns, NULL::INTEGER[] AS conexclop
FROM   keys JOIN pg_namespace AS spaces ON spaces.nspname = keys.schema;

CREATE TABLE pg_database AS
SELECT 1 AS oid, '{database}' AS datname, 10 AS datdba, 6 AS encoding, 'c' AS datlocprovider, false AS datistemplate,
       true AS datallowconn, -1 AS datconnlimit, 0 AS dattablespace, 'C.UTF-8' AS datcollate, 'C.UTF-8' AS datctype,
       NULL::VARCHAR AS daticulocale, NULL::VARCHAR AS daticurules, NULL::VARCHAR[] AS datacl;
CREATE TABLE pg_roles AS
SELECT 10 AS oid, 'sqlrag' AS rolname, false AS rolsuper, true AS rolinherit, false AS rolcreaterole, false AS rolcreatedb,
       true AS rolcanlogin, false AS rolreplication, -1 AS rolconnlimit, NULL::VARCHAR AS rolpassword,
       NULL::TIMESTAMP AS rolvaliduntil, false AS rolbypassrls, NULL::VARCHAR[] AS rolconfig;
CREATE VIEW pg_authid AS SELECT * FROM pg_roles;
CREATE VIEW pg_user AS SELECT rolname AS usename, oid AS usesysid, false AS usecreatedb, false AS usesuper FROM pg_roles;
CREATE TABLE pg_am (oid INTEGER, amname VARCHAR, amhandler VARCHAR, amtype VARCHAR);
INSERT INTO pg_am VALUES (2, 'heap', '-', 't'), (403, 'btree', '-', 'i');
CREATE TABLE pg_collation (oid INTEGER, collname VARCHAR, collnamespace INTEGER, collprovider VARCHAR,
    collisdeterministic BOOLEAN, collencoding INTEGER);
INSERT INTO pg_collation VALUES (100, 'default', 11, 'd', true, -1);
CREATE TABLE pg_settings AS SELECT name, setting, ''::VARCHAR AS category, ''::VARCHAR AS short_desc FROM settings;

-- What this kind of database has none of: the columns that clients name.
CREATE TABLE pg_attrdef (oid INTEGER, adrelid INTEGER, adnum SMALLINT, adbin VARCHAR);
CREATE TABLE pg_auth_members (roleid INTEGER, member INTEGER, admin_option BOOLEAN);
CREATE TABLE pg_db_role_setting (setdatabase INTEGER, setrole INTEGER, setconfig VARCHAR[]);
CREATE TABLE pg_depend (classid INTEGER, objid INTEGER, objsubid INTEGER, refclassid INTEGER, refobjid INTEGER,
    refobjsubid INTEGER, deptype VARCHAR);
CREATE TABLE pg_description (objoid INTEGER, classoid INTEGER, objsubid INTEGER, description VARCHAR);
CREATE TABLE pg_shdescription (objoid INTEGER, classoid INTEGER, description VARCHAR);
CREATE TABLE pg_enum (oid INTEGER, enumtypid INTEGER, enumsortorder FLOAT, enumlabel VARCHAR);
CREATE TABLE pg_extension (oid INTEGER, extname VARCHAR, extowner INTEGER, extnamespace INTEGER, extversion VARCHAR);
CREATE TABLE pg_foreign_server (oid INTEGER, srvname VARCHAR, srvfdw INTEGER);
CREATE TABLE pg_foreign_table (ftrelid INTEGER, ftserver INTEGER, ftoptions VARCHAR[]);
CREATE TABLE pg_inherits (inhrelid INTEGER, inhparent INTEGER, inhseqno INTEGER, inhdetachpending BOOLEAN);
CREATE TABLE pg_language (oid INTEGER, lanname VARCHAR);
CREATE TABLE pg_matviews (schemaname VARCHAR, matviewname VARCHAR, definition VARCHAR);
CREATE TABLE pg_opclass (oid INTEGER, opcname VARCHAR, opcnamespace INTEGER, opcdefault BOOLEAN, opcmethod INTEGER);
CREATE TABLE pg_partitioned_table (partrelid INTEGER, partstrat VARCHAR, partnatts SMALLINT, partattrs SMALLINT[]);
CREATE TABLE pg_policy (oid INTEGER, polname VARCHAR, polrelid INTEGER, polcmd VARCHAR, polpermissive BOOLEAN,
    polroles INTEGER[], polqual VARCHAR, polwithcheck VARCHAR);
CREATE TABLE pg_proc (oid INTEGER, proname VARCHAR, pronamespace INTEGER, proowner INTEGER, prolang INTEGER,
    prokind VARCHAR, proretset BOOLEAN, prorettype INTEGER, pronargs SMALLINT, proargtypes INTEGER[], proargnames VARCHAR[],
    proallargtypes INTEGER[], proargmodes VARCHAR[], prosrc VARCHAR, provolatile VARCHAR, proisstrict BOOLEAN);
CREATE TABLE pg_publication (oid INTEGER, pubname VARCHAR, puballtables BOOLEAN);
CREATE TABLE pg_publication_namespace (oid INTEGER, pnpubid INTEGER, pnnspid INTEGER);
CREATE TABLE pg_publication_rel (oid INTEGER, prpubid INTEGER, prrelid INTEGER, prqual VARCHAR, prattrs SMALLINT[]);
CREATE TABLE pg_range (rngtypid INTEGER, rngsubtype INTEGER, rngmultitypid INTEGER);
CREATE TABLE pg_rewrite (oid INTEGER, rulename VARCHAR, ev_class INTEGER, ev_type VARCHAR, ev_enabled VARCHAR, is_instead BOOLEAN);
CREATE TABLE pg_sequence (seqrelid INTEGER, seqtypid INTEGER, seqstart BIGINT, seqincrement BIGINT, seqmax BIGINT,
    seqmin BIGINT, seqcache BIGINT, seqcycle BOOLEAN);
CREATE TABLE pg_stat_activity (datid INTEGER, datname VARCHAR, pid INTEGER, usename VARCHAR, state VARCHAR, query VARCHAR);
CREATE TABLE pg_statistic_ext (oid INTEGER, stxrelid INTEGER, stxname VARCHAR, stxnamespace INTEGER, stxkind VARCHAR[],
    stxkeys SMALLINT[], stxstattarget INTEGER);
CREATE TABLE pg_tablespace (oid INTEGER, spcname VARCHAR, spcowner INTEGER);
CREATE TABLE pg_trigger (oid INTEGER, tgrelid INTEGER, tgname VARCHAR, tgfoid INTEGER, tgtype SMALLINT, tgenabled VARCHAR,
    tgisinternal BOOLEAN, tgconstraint INTEGER, tgparentid INTEGER, tgdeferrable BOOLEAN, tginitdeferred BOOLEAN);

CREATE VIEW pg_tables AS
SELECT nspname AS schemaname, relname AS tablename, 'sqlrag' AS tableowner, NULL::VARCHAR AS tablespace,
       relhasindex AS hasindexes, false AS hasrules, false AS hastriggers, false AS rowsecurity
FROM   pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE relkind = 'r';
CREATE VIEW pg_views AS
SELECT nspname AS schemaname, relname AS viewname, 'sqlrag' AS viewowner, NULL::VARCHAR AS definition
FROM   pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE relkind = 'v';
CREATE VIEW pg_indexes AS
SELECT schema AS schemaname, name AS tablename, name || '_pkey' AS indexname, NULL::VARCHAR AS tablespace,
       'PRIMARY KEY (' || array_to_string(columns, ', ') || ')' AS indexdef FROM keys;

-- The standard's own catalog.
CREATE SCHEMA information;
CREATE VIEW information.schemata AS
SELECT '{database}' AS catalog_name, nspname AS schema_name, 'sqlrag' AS schema_owner FROM pg_namespace;
CREATE VIEW information.tables AS
SELECT DISTINCT '{database}' AS table_catalog, schema AS table_schema, name AS table_name,
       CASE kind WHEN 'view' THEN 'VIEW' ELSE 'BASE TABLE' END AS table_type, 'NO' AS is_insertable_into
FROM   described;
CREATE VIEW information.views AS
SELECT table_catalog, table_schema, table_name, NULL::VARCHAR AS view_definition FROM information.tables WHERE table_type = 'VIEW';
CREATE VIEW information.columns AS
SELECT '{database}' AS table_catalog, schema AS table_schema, name AS table_name, "column" AS column_name,
       number AS ordinal_position, NULL::VARCHAR AS column_default, CASE WHEN not_null THEN 'NO' ELSE 'YES' END AS is_nullable,
       format_type(type, -1) AS data_type, NULL::INTEGER AS character_maximum_length, NULL::INTEGER AS numeric_precision,
       NULL::INTEGER AS numeric_scale, NULL::INTEGER AS datetime_precision, type_name AS udt_name, 'pg_catalog' AS udt_schema,
       'NO' AS is_identity, 'NEVER' AS is_generated
FROM   described;
CREATE VIEW information.table_constraints AS
SELECT '{database}' AS constraint_catalog, schema AS constraint_schema, name || '_pkey' AS constraint_name,
       '{database}' AS table_catalog, schema AS table_schema, name AS table_name, 'PRIMARY KEY' AS constraint_type FROM keys;
CREATE VIEW information.key_column_usage AS
SELECT '{database}' AS constraint_catalog, schema AS constraint_schema, name || '_pkey' AS constraint_name,
       '{database}' AS table_catalog, schema AS table_schema, name AS table_name, "column" AS column_name, key AS ordinal_position
FROM   described WHERE key > 0;

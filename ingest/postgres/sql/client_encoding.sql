-- Selects the encoding of the database, and makes it the one of the transaction if it is one of $1, which are decoded by
-- the client. A database without an encoding (SQL_ASCII) may contain bytes that are not UTF-8. They are read as they
-- are, so that they make one row invalid and not the statement. The server converts other encodings to UTF-8.
SELECT server, set_config('client_encoding', CASE WHEN server = 'SQL_ASCII' OR server = ANY($1) THEN server ELSE 'UTF8' END, true)
FROM (SELECT getdatabaseencoding()::text AS server) AS encoding;

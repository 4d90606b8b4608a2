-- The last statements before a user's statement. They restrict DuckDB to the given files and lock the configuration.
-- The user's statement runs in the read-only transaction. Errors are JSON, because that includes the position in the
-- statement.
SET TimeZone = 'UTC';
SET extension_directory = '/nonexistent';
SET secret_directory = '/nonexistent';
SET autoinstall_known_extensions = false;
SET autoload_known_extensions = false;
SET allow_community_extensions = false;
SET allow_persistent_secrets = false;
SET allowed_paths = {{files}};
SET errors_as_json = true;
SET enable_external_access = false;
SET lock_configuration = true;
BEGIN TRANSACTION READ ONLY;

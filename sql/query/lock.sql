-- The last words before a user's statement: nothing is opened but the files, and nothing of this can be changed any more. The read-only
-- transaction is the one in which the statement runs. Errors as JSON say at which byte of the statement they are.
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

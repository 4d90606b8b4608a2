-- Whether a key was revoked because its source no longer listed it. Such a key is valid again if its source lists it.
ALTER TABLE keys ADD COLUMN revocation_inferred BOOLEAN DEFAULT false;

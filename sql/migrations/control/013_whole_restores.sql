-- Whether the whole data folder was restored, and not the tenant only.
ALTER TABLE restores ADD COLUMN whole BOOLEAN DEFAULT false;

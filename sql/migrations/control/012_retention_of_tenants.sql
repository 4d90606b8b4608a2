-- How long rows of the tenant are kept, such as calls=24mo,messages=90d. NULL: without a limit.
ALTER TABLE tenants ADD COLUMN keep VARCHAR;

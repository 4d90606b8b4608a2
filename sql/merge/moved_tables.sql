-- Creates the tables of the rows that move to another tenant.
CREATE OR REPLACE TABLE moved (tenant_id UUID, id UUID);
CREATE OR REPLACE TABLE moved_rows (text VARCHAR);

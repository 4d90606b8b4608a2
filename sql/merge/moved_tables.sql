-- Creates the tables of the rows that move to another tenant.
CREATE TABLE moved (tenant_id UUID, id UUID);
CREATE TABLE moved_rows (text VARCHAR);

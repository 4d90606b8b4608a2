-- Creates the list of erased identities, in the database of the instance itself.
CREATE TABLE memory.main.erased (tenant_id UUID NOT NULL, salt VARCHAR NOT NULL, hash UUID NOT NULL, until TIMESTAMPTZ NOT NULL);

-- Returns the keys of a stored phone number. The number is erased if the list has one of them; NumberKeys in package
-- erasure returns the keys for the list.
CREATE MACRO memory.main.number_keys(number) AS
    ['number:' || memory.main.digits(number), CASE WHEN translate(number, '0123456789 +-()./', '') <> '' THEN 'name:' || trim(number) END];

-- Creates the list of erased identities, in the database of the instance itself.
CREATE TABLE memory.main.erased (tenant_id UUID NOT NULL, salt VARCHAR NOT NULL, hash UUID NOT NULL, until TIMESTAMPTZ NOT NULL);

-- Returns the keys that a stored phone number may have on the list, one of NumberKeys in package erasure.
CREATE MACRO memory.main.number_keys(number) AS
    ['number:' || memory.main.digits(number), CASE WHEN translate(number, '0123456789 +-()./', '') <> '' THEN 'name:' || trim(number) END];

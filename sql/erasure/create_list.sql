-- Creates the list of erased identities, in the database of the instance itself.
CREATE TABLE memory.main.erased (tenant_id UUID NOT NULL, salt VARCHAR NOT NULL, hash UUID NOT NULL, until TIMESTAMPTZ NOT NULL);

-- Returns the key by which a stored phone number is on the list. NumberKeys in package erasure returns this key, too.
CREATE MACRO memory.main.number_keys(number) AS
    ['number:' || memory.main.digits(number), CASE WHEN translate(number, '0123456789 +-()./', '') <> '' THEN 'name:' || trim(number) END];

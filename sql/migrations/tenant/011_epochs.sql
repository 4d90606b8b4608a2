-- An epoch begins with the first commit of a process: first_seq is its sequence number, id is random. A copy of the file that
-- goes on by itself has other epochs from then on, so that a position in the change feed can tell whether its past is here.
CREATE TABLE epochs (first_seq BIGINT NOT NULL, id UUID NOT NULL);

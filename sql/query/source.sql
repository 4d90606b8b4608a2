-- Sets the query that a view of a user's statement reads.
SET VARIABLE {{source}} = {{text}};

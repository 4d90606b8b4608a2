-- Creates a view for a user's statement. Its query refers to files by open descriptors, so that it contains no path of
-- the server.
CREATE VIEW {{export}} AS FROM query(getvariable({{source}}));

-- A relation of a query. Its files are named by descriptors that stay open: no path of the server is in it.
CREATE VIEW {{export}} AS FROM query(getvariable({{source}}));

-- A relation of a query over an export that has no file yet.
CREATE VIEW {{export}} AS SELECT {{columns}} WHERE false;

-- Sets the number of the last commit.
UPDATE clock SET seq = {{seq}};

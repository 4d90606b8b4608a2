UPDATE clock SET seq = seq + 1;

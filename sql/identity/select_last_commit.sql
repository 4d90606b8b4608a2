SELECT identity::VARCHAR, last_commit::VARCHAR FROM clock;

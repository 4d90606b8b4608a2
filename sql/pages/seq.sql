SELECT seq FROM clock;

INSERT INTO unpublished SELECT $dataset, '', seq FROM clock;

-- The ledger's database is the image's POSTGRES_DB; this one is the FHIR server's.
CREATE DATABASE hapi;

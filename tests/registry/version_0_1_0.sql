CREATE TABLE accounts (
	name VARCHAR(63) NOT NULL, 
	added VARCHAR(27) NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "accounts" VALUES('acme','2026-03-01T12:00:00.000000Z');
INSERT INTO "accounts" VALUES('other','2026-03-01T12:00:00.000000Z');
CREATE TABLE agreements (
	number INTEGER NOT NULL, 
	account VARCHAR(63) NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (number), 
	FOREIGN KEY(account) REFERENCES accounts (name)
);
INSERT INTO "agreements" VALUES(1,'acme','{"record":"agreement","id":"agreement-1","account":"acme","route":"order_form","document":"OF-2041","terms_version":"2026-05","terms_digest":"51d2361f4faea3bc8f9facdbc7d99abb555596a2e51f7b25fd3b41c93587e616","recorded_by":"legal","recorded":"2026-03-02T12:00:00Z","effective_from":"2026-03-02T12:00:00Z","effective_to":null,"redline":null}');
INSERT INTO "agreements" VALUES(2,'other','{"record":"agreement","id":"agreement-2","account":"other","route":"order_form","document":"OF-7","terms_version":"2026-05","terms_digest":"51d2361f4faea3bc8f9facdbc7d99abb555596a2e51f7b25fd3b41c93587e616","recorded_by":"legal","recorded":"2026-03-05T12:00:00Z","effective_from":"2026-03-05T12:00:00Z","effective_to":null,"redline":"Section 4.2 is struck"}');
INSERT INTO "agreements" VALUES(3,'other','{"record":"ending","agreement":"agreement-2","account":"other","reason":"replaced","recorded":"2026-03-06T12:00:00Z","effective":"2026-03-06T12:00:00Z"}');
INSERT INTO "agreements" VALUES(4,'other','{"record":"agreement","id":"agreement-4","account":"other","route":"order_form","document":"OF-8 – ü","terms_version":"2026-05","terms_digest":"51d2361f4faea3bc8f9facdbc7d99abb555596a2e51f7b25fd3b41c93587e616","recorded_by":"legal","recorded":"2026-03-06T12:00:00.000500Z","effective_from":"2026-03-06T12:00:00.000500Z","effective_to":"2027-04-10T12:00:00.000500Z","redline":null}');
CREATE TABLE changes (
	id INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "changes" VALUES(1,13);
CREATE TABLE instances (
	name VARCHAR(63) NOT NULL, 
	account VARCHAR(63) NOT NULL, 
	deployment VARCHAR(20) NOT NULL, 
	public_key TEXT NOT NULL, 
	active BOOLEAN NOT NULL, 
	added VARCHAR(27) NOT NULL, 
	PRIMARY KEY (name), 
	FOREIGN KEY(account) REFERENCES accounts (name)
);
INSERT INTO "instances" VALUES('acme-1','acme','managed','MCowBQYDK2VwAyEABM+rd9uQngrRGTZeMKY+7A/hHqO5y2zbKzsxerg/NWk=',TRUE,'2026-03-01T12:00:00.000000Z');
INSERT INTO "instances" VALUES('acme-2','acme','on_premises','MCowBQYDK2VwAyEANlTNK2CcIOL8JF7yGVf3lwpRyDjcb6MPvA77Et2LzdI=',FALSE,'2026-03-01T12:00:00.000000Z');
INSERT INTO "instances" VALUES('other-1','other','managed','MCowBQYDK2VwAyEA0MWbmmZWFYEVZyREmiNDnsYWUyWe4QCIbwlp0PZ7kV8=',TRUE,'2026-03-01T12:00:00.000000Z');
CREATE TABLE overrides (
	number INTEGER NOT NULL, 
	account VARCHAR(63), 
	instance VARCHAR(63), 
	level VARCHAR(20) NOT NULL, 
	reason TEXT NOT NULL, 
	recorded VARCHAR(27) NOT NULL, 
	PRIMARY KEY (number), 
	FOREIGN KEY(account) REFERENCES accounts (name), 
	FOREIGN KEY(instance) REFERENCES instances (name)
);
INSERT INTO "overrides" VALUES(1,'acme',NULL,'critical','asked for in ticket 512','2026-03-03T12:00:00.000000Z');
INSERT INTO "overrides" VALUES(2,'acme',NULL,'events','taken back in ticket 513','2026-03-04T12:00:00.000000Z');
INSERT INTO "overrides" VALUES(3,NULL,'acme-1','off','maintenance','2026-03-07T12:00:00.000500Z');

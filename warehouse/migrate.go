package warehouse

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

func storeKind(catalog string) string {
	if catalog == "control" {
		return "control"
	}
	return "tenant"
}

// errNewer is the kind of error of a database that a newer program has written.
var errNewer = fmt.Errorf("%w: written by a newer version", ErrInvalid)

// errOutdated is the error of a database that has to be copied before its migration.
var errOutdated = errors.New("written by an earlier version")

// migrate upgrades a database to the current version, in one transaction per script, and records the SHA-256 of each
// script. It returns errNewer if the database was written by a newer program, and ErrInvalid if a script that was
// applied to it has changed since. It returns errOutdated, and changes nothing, if the database has an older version
// and kept is false.
func migrate(ctx context.Context, db *sql.DB, kind string, kept bool) error {
	version, err := schemaVersion(ctx, db)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	scripts := statements.Migrations(kind)
	switch {
	case version > len(scripts):
		return fmt.Errorf("%w: the %s database is of version %d and this voicory knows %d; use the newer one",
			errNewer, kind, version, len(scripts))
	case version == len(scripts):
		return checkScripts(ctx, db, kind)
	case version > 0 && !kept:
		return errOutdated
	}
	if _, err := db.ExecContext(ctx, statements.Get("migrations/version")); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := checkScripts(ctx, db, kind); err != nil {
		return err
	}
	for i := version; i < len(scripts); i++ {
		tx, err := duckdb.Begin(ctx, db)
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		if _, err = tx.ExecContext(ctx, scripts[i]); err == nil {
			_, err = tx.ExecContext(ctx, statements.Get("identity/insert_version"), sql.Named("version", i+1))
		}
		if err == nil {
			_, err = tx.ExecContext(ctx, statements.Get("identity/insert_script"),
				sql.Named("version", i+1), sql.Named("sha256", scriptHash(scripts[i])))
		}
		if err != nil {
			return errors.Join(fmt.Errorf("migrate %s to version %d: %w", kind, i+1, err), tx.Rollback())
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("migrate %s to version %d: %w", kind, i+1, err)
		}
	}
	return nil
}

func scriptHash(script string) string {
	sum := sha256.Sum256([]byte(script))
	return hex.EncodeToString(sum[:])
}

// checkScripts returns ErrInvalid if a script that was applied to the database is another one in this program. Versions
// that did not record hashes are not compared.
func checkScripts(ctx context.Context, db *sql.DB, kind string) error {
	rows, err := db.QueryContext(ctx, "SELECT version, sha256 FROM schema_scripts")
	if duckdb.IsCatalog(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer rows.Close()
	scripts := statements.Migrations(kind)
	for rows.Next() {
		var version int
		var hash string
		if err := rows.Scan(&version, &hash); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		if version < 1 || version > len(scripts) || hash != scriptHash(scripts[version-1]) {
			return fmt.Errorf("%w: version %d of the %s database was made by another script than the one of this voicory; "+
				"use the voicory that made it", ErrInvalid, version, kind)
		}
	}
	return rows.Err()
}

// schemaVersion returns the schema version of the database, or 0 if the database is empty.
func schemaVersion(ctx context.Context, db *sql.DB) (version int, err error) {
	read := func() error {
		return db.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&version)
	}
	if err = read(); duckdb.IsCatalog(err) { // read first, because nearly every file has the table
		if _, err = db.ExecContext(ctx, statements.Get("migrations/version")); err == nil {
			err = read()
		}
	}
	return version, err
}

package postgres

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/warehouse"
)

// parseDSN parses a connection string. Names, errors and logs show hosts, databases, users and names of settings.
// Therefore its errors are fixed texts, and it refuses every string in which a part of the password could be parsed as
// another part.
func parseDSN(dsn string) (*pgx.ConnConfig, error) {
	err := checkURL(dsn)
	var config *pgx.ConnConfig
	if err == nil {
		if config, err = pgx.ParseConfig(dsn); err != nil {
			err = errors.New("the DSN is not a PostgreSQL connection string") // the error of the driver quotes the DSN
		}
	}
	if err == nil {
		err = checkParts(config)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w; write postgres://USER:PASSWORD@HOST:PORT/DATABASE or "+
			"host=… port=… user=… password='…' dbname=…", warehouse.ErrInvalid, err)
	}
	return config, nil
}

// checkURL returns an error if a URL contains a character that must be percent-encoded. A password with such a
// character ends up in the host, the port, the database or a setting. The user and the password end at the last @ of
// the URL, because no later part needs this character.
func checkURL(dsn string) error {
	_, rest, ok := strings.Cut(dsn, "://")
	if !ok || !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return nil
	}
	end := strings.LastIndexByte(rest, '@')
	user, password, _ := strings.Cut(rest[:max(end, 0)], ":")
	if strings.ContainsAny(user+password, ":/?#[]@ \\") || strings.ContainsRune(rest, '#') {
		return errors.New("the DSN contains a character that must be percent-encoded in a URL, such as @ : / ? # or % in " +
			"a password (%40 %3A %2F %3F %23 %25)")
	}
	return nil
}

// sessionSettings are the settings of a session that a DSN may contain. The value is true if the setting may select
// other rows, and so belongs to the identity of a source.
var sessionSettings = map[string]bool{
	"search_path": true, "options": true, "role": true, "session_authorization": true, "row_security": true,
	"default_transaction_isolation": false, "application_name": false, "client_encoding": false, "datestyle": false,
	"timezone": false, "intervalstyle": false, "extra_float_digits": false, "work_mem": false, "jit": false,
	"statement_timeout": false, "lock_timeout": false, "transaction_timeout": false, "tcp_user_timeout": false,
	"idle_in_transaction_session_timeout": false, "idle_session_timeout": false, "tcp_keepalives_idle": false,
	"tcp_keepalives_interval": false, "tcp_keepalives_count": false,
}

// hostName matches a host name or an IP address. The path of a socket begins with a slash, or with @.
var hostName = regexp.MustCompile(`^([A-Za-z0-9._:%-]+|[/@].*)$`)

// checkParts returns an error if a part of the connection string does not have the form of such a part, probably
// because a password was not quoted.
func checkParts(config *pgx.ConnConfig) error {
	for name := range config.RuntimeParams {
		if _, ok := sessionSettings[strings.ToLower(name)]; !ok {
			return errors.New("the DSN contains an unknown setting, or a password that is not quoted")
		}
	}
	for _, host := range hosts(config) {
		if !hostName.MatchString(host) {
			return errors.New("the DSN contains an invalid host, or a password that is not quoted")
		}
	}
	if strings.Contains(config.Database+config.User, "://") {
		return errors.New("the DSN contains a URL inside of another part")
	}
	return nil
}

// hosts returns the hosts of the configuration, in order.
func hosts(config *pgx.ConnConfig) []string {
	list := []string{config.Host}
	for _, other := range config.Fallbacks {
		list = append(list, other.Host)
	}
	return list
}

// addresses returns the addresses of the servers, in order. A server without a port has a socket.
func addresses(config *pgx.ConnConfig) (list []string) {
	add := func(host string, port uint16) {
		address := net.JoinHostPort(host, strconv.Itoa(int(port)))
		if !slices.Contains(list, address) { // the driver lists a host twice if it may try without TLS
			list = append(list, address)
		}
	}
	add(config.Host, config.Port)
	for _, other := range config.Fallbacks {
		add(other.Host, other.Port)
	}
	return list
}

// sourceName returns the identity of a source. It contains everything in the connection string that selects the rows:
// the servers, the database, the user, whose search path and privileges may differ, and settings such as search_path.
// Values that may contain a secret are represented by a digest.
func sourceName(config *pgx.ConnConfig) string {
	name := "postgres " + config.User + "@" + strings.Join(addresses(config), ",") + "/" + config.Database
	digest, selects := sha256.New(), false
	for _, setting := range slices.Sorted(maps.Keys(config.RuntimeParams)) {
		switch value := config.RuntimeParams[setting]; {
		case !sessionSettings[strings.ToLower(setting)]:
		case strings.EqualFold(setting, "search_path"):
			name += " search_path=" + value
		default:
			selects = true
			fmt.Fprintf(digest, "%q=%q\n", strings.ToLower(setting), value)
		}
	}
	if selects {
		name += " settings " + hex.EncodeToString(digest.Sum(nil)[:6])
	}
	return name
}

// formerName returns the name that earlier versions gave to the source. Sources that read different rows could share
// it.
func formerName(config *pgx.ConnConfig) string {
	return "postgres " + net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))) + "/" + config.Database
}

// secretsOf returns the texts of the configuration that must not be shown: the password, and the values in options.
// Texts of the server and of the driver may repeat them.
func secretsOf(config *pgx.ConnConfig) (secrets []string) {
	for _, field := range strings.Fields(config.RuntimeParams["options"]) {
		if _, value, ok := strings.Cut(field, "="); ok {
			secrets = append(secrets, strings.Trim(value, `'"`))
		} else if !strings.HasPrefix(field, "-") {
			secrets = append(secrets, field) // a setting without a value, or a part of a value
		}
	}
	secrets = append(secrets, config.Password)
	secrets = slices.DeleteFunc(secrets, func(secret string) bool { return secret == "" })
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // a secret may contain another one
	return secrets
}

// redact replaces the secrets in a text of the server or of the driver.
func redact(text string, secrets []string) string {
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, "…")
	}
	return text
}

package control

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/voicory/warehouse/warehouse/schema"
)

// anyOrigin stands for every web origin.
const anyOrigin = "*"

// hostName matches a DNS name of lower-case labels, as browsers send it.
var hostName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// parseOrigin returns a web origin in the form in which browsers send it: http or https, a host name or an IP address,
// and the port unless it is the scheme's default. It returns schema.ErrInvalid for any other text, because no browser
// would send it, and the setting would have no effect.
func parseOrigin(text string) (origin string, err error) {
	fail := func(reason string) (string, error) {
		return "", fmt.Errorf("%w: web origin %q: %s (example: https://app.example.com)",
			schema.ErrInvalid, text, reason)
	}
	scheme, authority, ok := strings.Cut(strings.ToLower(text), "://")
	if !ok || scheme != "http" && scheme != "https" {
		return fail("it does not begin with http:// or https://")
	}
	host, port, hasPort := strings.Cut(authority, ":")
	if strings.HasPrefix(authority, "[") {
		var rest string
		host, rest, ok = strings.Cut(authority[1:], "]")
		address, err := netip.ParseAddr(host)
		if !ok || err != nil || !address.Is6() || address.Zone() != "" || rest != "" && rest[0] != ':' {
			return fail("the host is not an IPv6 address in brackets")
		}
		host, port, hasPort = "["+address.String()+"]", strings.TrimPrefix(rest, ":"), rest != ""
	} else if !validHost(host) {
		return fail("the host is not a name in ASCII or an IP address; " +
			"wildcards, paths and user names are not part of an origin")
	}
	if !hasPort {
		return scheme + "://" + host, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port[0] == '0' {
		return fail("the port is not a number from 1 to 65535")
	}
	if scheme == "http" && n == 80 || scheme == "https" && n == 443 {
		return scheme + "://" + host, nil
	}
	return scheme + "://" + host + ":" + port, nil
}

// validHost reports whether a lower-case host is a DNS name or an IPv4 address. A host whose last label is numeric must
// be an address.
func validHost(host string) bool {
	if len(host) > 253 || !hostName.MatchString(host) {
		return false
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if strings.Trim(last, "0123456789") != "" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Is4()
}

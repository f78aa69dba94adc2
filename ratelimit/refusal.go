package ratelimit

import (
	"math/rand/v2"
	"time"
)

// What a refusal is for: too quick, or too many at once.
const (
	Rate = "rate"
	Cap  = "cap"
)

// The limits that refuse. They are the values of the label of headgate_limit_refusals_total. Those of an address or a user concern their
// owner, the others everybody.
const (
	Streams                = "streams"                   // Config.Streams
	StreamsPerRoute        = "streams_per_route"         // Route.Streams
	StreamsPerAddress      = "streams_per_address"       // Config.StreamsPerAddress
	StreamsPerUser         = "streams_per_user"          // Config.StreamsPerUser
	StreamsPerUserAndRoute = "streams_per_user_on_route" // Route.StreamsPerUser
	ConnectRate            = "connect_rate_per_address"  // Config.ConnectRate
	UserConnectRate        = "connect_rate_per_user"     // Config.UserConnectRate
	GlobalConnectRate      = "connect_rate"              // Config.GlobalConnectRate
	PublishRate            = "publish_rate_per_address"  // Config.PublishRate
	UserPublishRate        = "publish_rate_per_user"     // Config.UserPublishRate
	RoutePublishRate       = "publish_rate_per_route"    // Route.PublishRate
	Overflow               = "overflow"                  // Config.Addresses, Users: newcomers that share what one may have
)

var limits = []string{Streams, StreamsPerRoute, StreamsPerAddress, StreamsPerUser, StreamsPerUserAndRoute, ConnectRate, UserConnectRate,
	GlobalConnectRate, PublishRate, UserPublishRate, RoutePublishRate, Overflow}

// Refusal says why not.
type Refusal struct {
	Cause      string        // Rate or Cap
	Limit      string        // which limit
	RetryAfter time.Duration // when to come back, in whole seconds, at least one
}

// How far those that are refused together are spread when they come back.
const (
	capWait       = 10 * time.Second // nobody knows when a stream ends
	capSpread     = 20 * time.Second
	ownSpread     = 2 * time.Second
	processSpread = 10 * time.Second // a storm: all of them are waiting for the same bucket
	longestWait   = time.Hour
)

func capReached(limit string) Refusal {
	return Refusal{Cause: Cap, Limit: limit, RetryAfter: retryAfter(capWait, capSpread)}
}

// rateReached refuses for a bucket that has its next token after wait.
func rateReached(limit string, wait, spread time.Duration) Refusal {
	return Refusal{Cause: Rate, Limit: limit, RetryAfter: retryAfter(wait, spread)}
}

// retryAfter is in whole seconds, for so is the header field (RFC 9110, section 10.2.3).
func retryAfter(wait, spread time.Duration) time.Duration {
	wait = min(max(wait, 1), longestWait) + rand.N(spread)
	return (wait + time.Second - 1).Truncate(time.Second)
}

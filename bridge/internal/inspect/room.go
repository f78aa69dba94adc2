package inspect

import (
	"fmt"

	"headgate/bridge/internal/jsapi"
)

// What a bucket takes in memory at the least: of a key as a hash, of a key with an empty value, and how many values are read from NATS
// at once for one state where they are not in memory.
const (
	leastOfKey   = 40
	leastOfValue = 576
	leastOfPlace = 73       // where its value is, in a list that is made where it has more than one message
	listBytes    = 64 << 20 // what a list may take in any case
	mostRead     = 100_000
)

// room says what will not fit into memory for certain: buckets share it with streams, so less than this may not fit either.
func (i *inspector) room(where string, info jsapi.Info) {
	most := uint64(i.cfg.JetStream.TailBytes)
	add := func(text string, least uint64) {
		i.report.add(Finding{Where: where, Level: Warning, Text: fmt.Sprintf("has %d keys: %s", info.NumSubjects, text),
			Remedy: fmt.Sprintf("raise JETSTREAM_TAIL_BYTES far above %d MiB, the least that these keys take", info.NumSubjects*least>>20+1)})
	}
	if info.NumSubjects > mostRead && info.NumSubjects*leastOfValue > most {
		text := "a route that matches more than %d of them, or 64 MiB, reads all of it from NATS for each client"
		if info.Config.MaxMsgsPerSubject != 1 && info.NumSubjects*leastOfPlace > max(most/4, listBytes) {
			text += ", and one that matches so many that a list of them does not fit into a quarter of it either, since the bucket has a history, ends its streams with source-lost"
		}
		add("their values do not fit into JETSTREAM_TAIL_BYTES, and without that "+fmt.Sprintf(text, mostRead), leastOfValue)
	}
	if info.NumSubjects*leastOfKey > most {
		add("not even these fit into JETSTREAM_TAIL_BYTES, so while the bucket changes, clients are given the whole state "+
			"anew every minute, and whoever comes back is as well", leastOfKey)
	}
}

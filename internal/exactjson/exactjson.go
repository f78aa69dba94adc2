// Package exactjson reads JSON objects that people write and others act upon: every member is one that is expected, spelt exactly so, and
// is there once. encoding/json takes members in any case, and of two of them the last one, which another reader may see differently.
package exactjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

// Decode reads data, which holds one object and nothing else, into the struct that into points to. Members of objects within it are
// encoding/json's affair. Its errors hold names of members, cut short, and no values.
func Decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.Decode(&struct{}{}) != io.EOF {
		return errors.New("something follows the object")
	}
	return exact(data, namesOf(reflect.TypeOf(into).Elem()))
}

// exact looks at the members of an object, or at null, that encoding/json has taken.
func exact(data []byte, names []string) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return err
	}
	var seen []string
	for d.More() {
		member, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := member.(string)
		switch {
		case !slices.Contains(names, name):
			return fmt.Errorf("unknown field %.40q", name)
		case slices.Contains(seen, name):
			return fmt.Errorf("the field %q is there twice", name)
		}
		seen = append(seen, name)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
	}
	return nil
}

// namesOf are the members of a struct, those of embedded ones among them.
func namesOf(t reflect.Type) []string {
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}

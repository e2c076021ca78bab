package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/weftmesh/weft/examples"
	"github.com/weftmesh/weft/pkg/lab"
)

// annotationRoll in a pod's template makes the Deployment roll whenever it changes.
const annotationRoll = "weft.dev/soak-roll"

// rolling is a Deployment that can be rolled: the annotation is put behind a text of its manifest.
type rolling struct{ deployment, file, after string }

// rolled are taken in turn.
var rolled = []rolling{
	{"shop/catalog", "catalog.yaml", "      labels: {app: catalog, version: v1}\n      annotations:\n"},
	{"shop/cart-v2", "cart.yaml", "      labels: {app: cart, version: v2}\n      annotations:\n"},
	{"shop/cart-v1", "cart.yaml", "      labels: {app: cart, version: v1}\n      annotations:\n"},
}

// manifest is a file of the shop with the annotations of as many rolls as there were.
func manifest(file string, rolls map[string]int) ([]byte, error) {
	data, err := examples.Files.ReadFile("shop/" + file)
	if err != nil {
		return nil, err
	}
	// The catalog's template has no annotations yet.
	data = bytes.Replace(data, []byte("      labels: {app: catalog, version: v1}\n"), []byte(rolled[0].after), 1)
	for _, r := range rolled {
		if r.file != file {
			continue
		}
		line := fmt.Sprintf("%s        %s: \"%d\"\n", r.after, annotationRoll, rolls[r.deployment])
		changed := bytes.Replace(data, []byte(r.after), []byte(line), 1)
		if bytes.Equal(changed, data) {
			return nil, fmt.Errorf("%s does not hold %q any more: the example changed, and this program has to follow", file, r.after)
		}
		data = changed
	}
	return data, nil
}

// roll changes a Deployment's template and waits until its pods are new and ready and the old ones gone.
func (s *soak) roll(ctx context.Context, r rolling) error {
	s.life.rolls[r.deployment]++
	data, err := manifest(r.file, s.life.rolls)
	if err != nil {
		return err
	}
	if err := s.save(r.file, data); err != nil {
		return err
	}
	want := fmt.Sprint(s.life.rolls[r.deployment])
	return s.until(ctx, 2*time.Minute, func() string {
		pods, err := s.pods(r.deployment)
		if err != nil {
			return err.Error()
		}
		for _, p := range pods {
			if p.Annotations[annotationRoll] != want || !lab.PodReady(p) {
				return "pod " + p.Name + " is not new, or not ready"
			}
		}
		if len(pods) == 0 {
			return "no pods"
		}
		return ""
	})
}

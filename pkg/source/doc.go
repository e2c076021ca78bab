// Package source turns folders of YAML into typed objects.
//
// The folders hold what a cluster's API would: Kubernetes' own objects, Gateway API's and Weft's. Each
// change of a file is seen within a fraction of a second. Objects are read strictly: a field, kind or
// value that the API does not know is a Problem with file, line and column, never guessed at. A broken
// object stays as it last was while the others of its file go on; a file that cannot be read at all stays
// as a whole. An object that was never good is left out. What vanishes from its file, or with it, is taken
// for deleted only after a quarter of a second: editors empty files, or move them away, before they write.
//
// Several folders may be given. An object of one folder that a later one also has is not replaced by it,
// only completed with what a cluster adds to what a person wrote: addresses, node, status.
//
//	d, err := source.Open(source.Options{Dirs: []string{"examples/shop"}})
//	err = d.Run(ctx, func(o *source.Objects, p []source.Problem) { ... }) // at once, and after each change
//
// Objects that were handed out are never changed afterwards; neither may their receiver change them.
package source

// Package kube reads objects from a Kubernetes API server.
//
// It is the counterpart of source.Dir: Run hands over everything at once, when all of it has been read, and
// again after each change. Nothing is handed over before everything was read, since an empty answer would be
// taken for an empty mesh. While the server is away, what was read last stays.
//
//	s, err := kube.New(kube.Options{Config: config})
//	err = s.Run(ctx, func(o *source.Objects, p []source.Problem) { ... })
//
// With Options.Node it reads the pods of one node and the namespaces, and nothing else: that is the agent's.
//
// Of each object only the fields are kept that somebody reads. Kinds that are defined by resources (Gateway
// API's and Weft's own) are read as strictly as from a folder, so that a field of a later version is a
// Problem rather than left out without a word; an object of which an edit is not understood stays as it was.
// A resource that is not installed is a Problem, and waited for; what is installed is used meanwhile.
//
// Objects that were handed out are never changed afterwards; neither may their receiver change them.
package kube

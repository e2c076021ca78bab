// Package delivery changes the mesh a thousand times under load, as people and their tools (Argo Rollouts, Flagger)
// do who deliver step by step: weights from 0 to 100 and back, routes, policies and faults that come and go,
// services that come with the route that uses them and go after it, a service that enters and leaves its waypoint.
// Every request is answered 200, or the test fails.
//
// CHANGES=1000 asks for the long run (`make changes`); by default it makes 60. It needs root: it raises a lab.
package delivery

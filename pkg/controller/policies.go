package controller

// compilePolicies compiles the kinds of policy that are attached to services, routes, rules and waypoints.
// Each has a file of its own.
func (c *compiler) compilePolicies() {
	c.compileTraffic()
	c.compileRateLimits()
	c.compileAuthentication()
	c.compileTelemetry()
	c.compileExtensions()
	c.compilePatches()
}

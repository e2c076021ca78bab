// Package upgrade replaces the ztunnels of a lab under connections whose bytes are compared, and wants none of them
// to notice. Program load is both ends of those.
package upgrade

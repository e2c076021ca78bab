// Package install puts the plugin weft-cni into a node's CNI configuration, keeps it there, and takes it out.
//
// The container runtime uses the first file of its configuration folder, by name. An Installer appends our entry to
// the plugins of that list and changes no other byte, so that taking the entry out restores what was there. It
// watches the folder: whatever another installer writes, replaces, adds or removes, the entry is in the first file
// again at once, and in no other.
//
//	10-x.conflist   our entry is inserted behind the last plugin
//	10-x.conf       one plugin without a list, or 10-x.json, or a link: is not touched. A list is made of it that
//	                takes its place in the order, 10-x.by-weft.conflist
//	malformed       is left alone and reported; it is looked at again when it changes, and every few seconds
//	none            is waited for
//
// No state in between is one that the runtime could trip over, also if the agent dies in the middle: files are
// written aside and swapped, the binary comes before the entry and goes after it. A file that was changed between
// our reading and our writing is noticed by what the swap brings back, and nothing of it is lost. On a full disk,
// all stays as it was.
//
// Installers that undo our work again and again are given in to for longer and longer, up to Options.MaxPause, and
// are complained of; Ready says so meanwhile.
package install

// Package docs runs the commands of the user's pages in docs/ on a real cluster, block by block: a page that says
// what does not work fails. A block marked ```sh not-run: WHY is left out.
//
// E2E_CLUSTER says which cluster, as for e2e/kube: `e2e/run.sh` raises one with the images of build/images.
package docs

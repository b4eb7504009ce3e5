package main

// removals are ten lines that carry a row each. A change of such a line changes its entry here.
var removals = []removal{}

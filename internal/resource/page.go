package resource

import (
	"fmt"
	"net/url"
	"strconv"
)

// DefaultTake is the size of a page when the client does not say (rest-api.md 1: paging).
const DefaultTake = 30

// Page is one page of a list.
type Page[T any] struct {
	ItemType       string
	TotalResults   int
	ItemsPerPage   int
	NumberOfPages  int
	LastPageNumber int
	Items          []T
	Links          map[string]string
}

// NewPage makes the page that starts at skip. path is the list's own, without a query; query is what the client asked.
func NewPage[T any](itemType, path string, query url.Values, skip, take, total int, items []T) Page[T] {
	if items == nil {
		items = []T{}
	}
	if take <= 0 {
		take = DefaultTake
	}
	pages := max(1, (total-1)/take+1)
	at := func(skip int) string {
		q := url.Values{}
		for k, v := range query {
			if k != "skip" && k != "take" {
				q[k] = v
			}
		}
		q.Set("skip", strconv.Itoa(skip))
		q.Set("take", strconv.Itoa(take))
		return path + "?" + q.Encode()
	}
	links := map[string]string{
		"Self":         at(skip),
		"Template":     path + "{?skip,take,ids}",
		"Page.All":     path + fmt.Sprintf("?skip=0&take=%d", 1<<31-1),
		"Page.Current": at(skip),
		"Page.Last":    at((pages - 1) * take),
	}
	if skip+take < total {
		links["Page.Next"] = at(skip + take)
	}
	return Page[T]{itemType, total, take, pages, pages - 1, items, links}
}

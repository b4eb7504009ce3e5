package quickstart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/schollz/progressbar/v3"
)

// object is a resource as the REST API writes it.
type object map[string]any

func (o object) text(name string) string { s, _ := o[name].(string); return s }

// client calls the REST API.
type client struct {
	url string
	key string
}

// refusal is an answer that is not a success.
type refusal struct {
	Status       int
	ErrorMessage string
	Errors       []string
}

func (r *refusal) Error() string {
	if len(r.Errors) > 0 {
		return r.ErrorMessage + " " + strings.Join(r.Errors, " ")
	}
	return r.ErrorMessage
}

func isStatus(err error, status int) bool {
	var r *refusal
	return errors.As(err, &r) && r.Status == status
}

// call sends one request; in and out may be nil.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	return c.send(ctx, method, path, "application/json", body, out)
}

func (c *client) send(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return err
	}
	request.Header.Set("X-Octopus-ApiKey", c.key)
	if body != nil {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		r := &refusal{Status: response.StatusCode}
		if json.Unmarshal(text, r) != nil || r.ErrorMessage == "" {
			r.ErrorMessage = fmt.Sprintf("%s %s answered %s.", method, path, response.Status)
		}
		return r
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// ensure gives the resource of this name, made if it is not there yet.
func (c *client) ensure(ctx context.Context, path string, want object) (object, error) {
	var page struct{ Items []object }
	name := want.text("Name")
	if err := c.call(ctx, "GET", path+"?take=1000&partialName="+url.QueryEscape(name), nil, &page); err != nil {
		return nil, err
	}
	for _, item := range page.Items {
		if item.text("Name") == name {
			return item, nil
		}
	}
	var made object
	if err := c.call(ctx, "POST", path, want, &made); err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	return made, nil
}

// upload streams a package, with a progress bar where there is a terminal.
func (c *client) upload(ctx context.Context, file string, bar *progressbar.ProgressBar) (object, error) {
	from, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	reader, writer := io.Pipe()
	form := multipart.NewWriter(writer)
	go func() {
		part, err := form.CreateFormFile("file", filepath.Base(file))
		if err == nil {
			_, err = io.Copy(io.MultiWriter(part, bar), from)
		}
		if err == nil {
			err = form.Close()
		}
		writer.CloseWithError(err)
	}()
	defer reader.Close()
	var made object
	return made, c.send(ctx, "POST", "/api/Spaces-1/packages/raw?overwriteMode=FailIfExists", form.FormDataContentType(), reader, &made)
}

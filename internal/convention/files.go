package convention

import "errors"

func (a *action) substituteInFiles() error      { return nil }
func (a *action) substituteFile(string) error   { return nil }
func (a *action) transformConfigs() error       { return nil }
func (a *action) replaceConfigVariables() error { return nil }
func (a *action) replaceStructured() error      { return nil }

var _ = errors.New

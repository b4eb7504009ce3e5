package convention

func (a *action) transformConfigs() error { return nil }

module miniredis

go 1.21

require (
	github.com/alicebob/miniredis/v2 v2.40.0
	github.com/yuin/gopher-lua v1.1.1 // indirect
)

/* The front page. Private to debug_http/. */
#pragma once

#include "debug_http/debug_http.h"

/** Handler of /debug/; data is the server. */
void front_serve(void *data, struct http_request *r);

/* GET /v1/status. */
#include "daemon/control.h"
#include "daemon/figures.h"

static void on_status(void *data, struct http_request *r)
{
	control_reply(r, figures_all(control_daemon(data)));
}

int control_status_routes(struct control *c, struct http_server *s)
{
	return http_route(s, HTTP_GET_, "/v1/status", "state and figures of this daemon (JSON)",
			  on_status, c);
}

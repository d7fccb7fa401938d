"""`python -m genepool_server.campaign.superlink ...`: a campaign's SuperLink, which ends when the campaign does."""

import logging

from genepool_protocol.machine.launching import end_with_parent

end_with_parent()

from genepool_protocol.machine import superlink  # noqa: E402 - a parent that has gone is noticed first

if __name__ == "__main__":
    # a line for every poll of every node would fill the disk in a campaign of days
    logging.getLogger("uvicorn.access").addFilter(lambda _record: False)
    superlink.main()

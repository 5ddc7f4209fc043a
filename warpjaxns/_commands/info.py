"""``warpjaxns info``."""


def add(commands):
    parser = commands.add_parser("info", help="print versions, devices and which backend runs where")
    parser.set_defaults(run=_run, parser=parser)


def _run(options):
    import warpjaxns

    print(warpjaxns.info())
    return 0

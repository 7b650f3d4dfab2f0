"""Every option of every verb, with its help, in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

Json = Annotated[bool, Option("--json", help="Print one JSON object on stdout, everything else on stderr.")]
Run = Annotated[Path, Argument(metavar="RUN", help="The folder of a run.")]
Settings = Annotated[list[str] | None, Argument(metavar="KEY=VALUE…", help="Any setting of the recipe.")]

# Pictures: `data check`, `data prepare`
Source = Annotated[
    str, Argument(metavar="SRC", help="A name ('limner data list'), a folder, an archive, a set's file; or the address of one.")
]
Size = Annotated[str | None, Option("--size", metavar="N|HxW", help="Size of the prepared images: 64, or 64x96.")]
Fit = Annotated[str | None, Option("--fit", metavar="crop|pad|stretch", help="How a picture of another shape is fitted.")]
Channels = Annotated[int | None, Option("--channels", help="1 grey, 3 colour, 4 with transparency; default: as found.")]
Background = Annotated[str | None, Option("--background", metavar="COLOUR", help="What transparency is laid on.")]
Split = Annotated[str | None, Option("--split", metavar="SHARE|NAME|none", help="What is held out: 0.1, or 0.1,0.1, or none.")]
Limit = Annotated[int | None, Option("--limit", help="Take at most this many pictures.")]
Labels = Annotated[str | None, Option("--labels", metavar="auto|none", help="Whether sub-folders and tables give classes.")]
Binary = Annotated[bool, Option("--binary", help="Draw each pixel once, white with probability grey/255.")]
DataSeed = Annotated[int | None, Option("--seed", help="Decides the split and what --limit takes.")]
DataOut = Annotated[Path | None, Option("--out", metavar="DIR", help="Where the packed set goes; default: the cache.")]

# Runs: `train`, `resume`
Preset = Annotated[str, Option("--preset", help="How to train; 'limner methods' lists them, 'auto' chooses.")]
Images = Annotated[int | None, Option("--images", help="Budget: so many images seen in all.")]
Minutes = Annotated[float | None, Option("--minutes", help="Budget: so many minutes of training.")]
Seed = Annotated[int | None, Option("--seed", help="Decides everything that is drawn.")]
Name = Annotated[str | None, Option("--name", help="The run's name; default: a number, the data and the preset.")]
RunsOut = Annotated[Path, Option("--out", metavar="DIR", help="The folder of all runs.")]
DryRun = Annotated[bool, Option("--dry-run", help="Say what would be done, how long and how large; train nothing.")]
Where = Annotated[list[str] | None, Argument(metavar="[prune] [DIR]", help="The folder of runs; default: runs.")]

# Pictures from a run: `sample`, `evaluate`
Checkpoint = Annotated[str, Option("--checkpoint", metavar="last|best|N", help="Which saved state to use.")]
Seeds = Annotated[str | None, Option("--seeds", metavar="0-15,42", help="Which pictures: one seed is one picture.")]
SeedCount = Annotated[int | None, Option("--count", help="The first so many seeds; default 16.")]
Label = Annotated[str | None, Option("--label", metavar="CLASS", help="Draw this class, where the model knows classes.")]
Truncation = Annotated[float, Option("--truncation", metavar="PSI", help="Below 1: more typical, less varied pictures.")]
Temperature = Annotated[float, Option("--temperature", help="Priors over codes: below 1, more typical, less varied.")]
TopK = Annotated[int, Option("--top-k", help="Priors over codes: draw from so many likeliest codes only; 0 is all.")]
TopP = Annotated[float, Option("--top-p", help="Priors over codes: from the likeliest of this mass only; 1 is all.")]
Grid = Annotated[bool, Option("--grid", help="Also lay them out in one picture.")]
Npz = Annotated[Path | None, Option("--npz", metavar="FILE", help="Write one array file instead of single pictures.")]
PicturesOut = Annotated[Path | None, Option("--out", metavar="DIR", help="Where pictures go; default: a folder in the run.")]
NoMetadata = Annotated[bool, Option("--no-metadata", help="Leave recipe, seed and model hash out of the PNGs.")]

# Pictures given to a run: `reconstruct`, `interpolate`, `traverse`, `embed`, `classify`
Given = Annotated[list[Path], Argument(metavar="IMAGES…", help="Picture files, or folders of them.")]
Ends = Annotated[list[Path] | None, Argument(metavar="IMAGES…", help="Two pictures or more, in the place of --seeds.")]
EndSeeds = Annotated[str | None, Option("--seeds", metavar="3,7,12", help="The pictures to pass through, by seed.")]
Starts = Annotated[int, Option("--starts", help="Latents that the search starts from, where there is no encoder.")]
SearchSteps = Annotated[int, Option("--steps", help="Steps of the search, where there is no encoder.")]
Encoder = Annotated[bool, Option("--encoder", help="Train an encoder first, for one more start of the search.")]
PathSteps = Annotated[int, Option("--steps", help="Pictures from one end to the next, both among them.")]
Start = Annotated[Path | None, Argument(metavar="IMAGE", help="A picture file to start from, in the place of --seed.")]
StartSeed = Annotated[int, Option("--seed", help="The picture to start from, by seed.")]
TurnedLatents = Annotated[str | None, Option("--latents", metavar="0-9,12", help="Which latents; default: the most active.")]
TurnSteps = Annotated[int, Option("--steps", help="Pictures for each latent.")]
Span = Annotated[float, Option("--span", metavar="T", help="From -T to T standard deviations about a latent's mean.")]
Embedded = Annotated[
    list[Path] | None, Argument(metavar="SRC|IMAGES…", help="A data set, or picture files; default: the run's own data.")
]
OneSplit = Annotated[str | None, Option("--split", metavar="train|val|test", help="One split of a data set; default: all.")]
ArrayOut = Annotated[Path | None, Option("--out", metavar="FILE", help="The .npz to write; default: one in the run.")]
Sorted = Annotated[list[Path] | None, Argument(metavar="IMAGES…", help="Picture files, or folders of them, to be labelled.")]
Labelled = Annotated[str | None, Option("--data", metavar="SRC", help="Labelled pictures; default: the run's own data.")]
KnownLabel = Annotated[str | None, Option("--label", metavar="CLASS", help="Of this class, where the model knows classes.")]

# Judging
What = Annotated[str, Argument(metavar="WHAT", help="A run, a folder of pictures, or an .npz of images.")]
Reference = Annotated[str | None, Option("--data", metavar="SRC", help="Compare with this set; default: the run's own.")]
JudgeCount = Annotated[int | None, Option("--count", help="How many pictures to judge.")]
Features = Annotated[
    str,
    Option(
        "--features",
        metavar="NAME|FILE",
        help="judge (trained on the data), inception (the FID's), random-conv, pixels, FILE.onnx, or FILE.pth of inception.",
    ),
]
JudgedCheckpoint = Annotated[str, Option("--checkpoint", metavar="last|best|N|all", help="Which saved state to judge, or all.")]
Importance = Annotated[
    int | None, Option("--importance", metavar="K", help="Draws per picture that bound its likelihood; 1 is the ELBO.")
]
Metrics = Annotated[str | None, Option("--metrics", metavar="A,B", help="Which scores; default: all that are quick.")]
ReportOut = Annotated[Path | None, Option("--out", metavar="DIR", help="Where the report goes.")]

Compared = Annotated[list[str], Argument(metavar="RUN…", help="Two or more: runs, folders of pictures, or .npz of images.")]
CommonReference = Annotated[str | None, Option("--data", metavar="SRC", help="Compare with this set; default: the runs' own.")]
Html = Annotated[bool, Option("--html", help="Also make a page; default place: comparisons/NAMES.")]
CompareOut = Annotated[Path | None, Option("--out", metavar="DIR", help="Where the page and the picture go.")]

# People as judges: `rate`
Rated = Annotated[
    list[str] | None, Argument(metavar="RUN…|STUDY|FILE…", help="Runs, folders of pictures or .npz files; or a study.")
]
Reals = Annotated[str | None, Option("--data", metavar="SRC", help="Where real pictures come from; default: the run's own.")]
RatedCount = Annotated[int | None, Option("--count", help="Pictures of each run that a person judges at a time; default 15.")]
Tasks = Annotated[str | None, Option("--tasks", metavar="A,B", help="Of timed, untimed, pairs; default: all.")]
Exposure = Annotated[int | None, Option("--exposure", metavar="MS", help="How long a timed picture is seen; default 500.")]
RatedSeed = Annotated[int | None, Option("--seed", help="Decides pictures and order; another seed, other pictures.")]
StudyOut = Annotated[Path | None, Option("--out", metavar="DIR", help="The study's folder; default: a new one in studies.")]
Serve = Annotated[bool, Option("--serve", help="Show the page on this machine and keep the answers, until Ctrl-C.")]
Port = Annotated[int | None, Option("--port", help="Where it is shown: 127.0.0.1:PORT; default 8420, 0 is any.")]
AnalysisHtml = Annotated[bool, Option("--html", help="With --analyse: also as a page, in the study.")]
Analyse = Annotated[bool, Option("--analyse", help="Say what follows from a study's answers.")]

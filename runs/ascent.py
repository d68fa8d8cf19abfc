import sys, time, torch
sys.path.insert(0,'he-models/training')
from pathlib import Path
from hetrain import recipe, data, ron
from hetrain.train import trained
from hetrain.folded import FoldedNetwork, Ranges
from hetrain.robustness import *
torch.set_num_threads(int(sys.argv[4]) if len(sys.argv)>4 else 2)
name, run, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
r = recipe.load(name, ())
state = torch.load(run/'last.pt', weights_only=True)
from hetrain.train import build
net = build(r, torch.device('cpu')); net.load_state_dict(state['average'])
ds = data.load(r.dataset, Path('DATA')).conditioned(r.conditioning)
f = FoldedNetwork.fold(net, ds.normalisation, ds.name).to(torch.device('cpu'), torch.float32)
reach = state['reach']
aimed = {k: v.double() for k,v in reach.items()}
tr = ds.train.take(torch.arange(10000))
t=time.time(); training = Ranges.measure(f, tr); print('train acc', training.right, time.time()-t, flush=True)
prom = ron.declared(training, aimed)
for k in prom: print(k, 'declared/aimed max', float((prom[k]/aimed[k]).max()), 'min', float((prom[k]/aimed[k]).min()))
photos = tr.pixels
s = starts(photos, count, 7)
t=time.time()
for part in s.split(120):
    b = climb(f, part, prom, 200)
    sh, lg = shares(f, b, prom)
    top, at = sh.detach().max(1)
    print('leave', int((top>1).sum()), 'of', len(part), 'max', float(top.max()), 'median', float(top.median()), 'where', [f.activation_names()[int(i)] for i in at[top>1]], time.time()-t, flush=True)
